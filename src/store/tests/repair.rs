//! Repairing: after it nothing is found any more, and what was good works.
