//! Header layouts, the one header parser and checksum arithmetic.
