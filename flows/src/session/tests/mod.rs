//! The table against a plain map, and its rules one by one.
