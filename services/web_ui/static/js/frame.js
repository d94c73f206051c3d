// What every page has: the clock, the reader's zone, and the keys.
import "./clock.js";
import "./keys.js";
