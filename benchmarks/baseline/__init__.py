"""The plain stack that MUTT is measured against: Flask, gunicorn, LPUSH, a loop over the rules, INSERT."""
