//! How frames get in and out: buffers, bursts, offload state and the ports.
