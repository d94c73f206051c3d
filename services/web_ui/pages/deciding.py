"""The pages about what decides: rules, hosts and teams, configuration, and their changes."""

from fastapi import APIRouter

from services.web_ui.pages import changes, configuration, dry_run, explain, hosts, imports, rule_editor, rules

router = APIRouter(include_in_schema=False)
# Addresses with a word of their own come before those that take any word.
for part in (rules, dry_run, explain, imports, configuration, changes, hosts, rule_editor):
    router.include_router(part.router)
