//! The nouns an operator sees: configuration, requests, responses, errors, the wire protocol and its client.
