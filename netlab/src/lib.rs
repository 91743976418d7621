//! A laboratory for packet switches: containers made of namespaces, and real kernel traffic between them.
