//! What is decided about a frame: parsing, tables, bridging and the pipeline. No I/O and no clock.
