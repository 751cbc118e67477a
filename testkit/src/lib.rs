//! What tests share: a loopback registry, fixture images, a hermetic bench for the binary.
