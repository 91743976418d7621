//! The host's networking as the switch sees it: namespaces, links, addresses, routes and device offloads.
