//! Microbenchmarks, and the harness that measures this switch and its peers in one run.
