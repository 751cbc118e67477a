//! A client for OCI distribution registries: references, credentials, pull and push.
