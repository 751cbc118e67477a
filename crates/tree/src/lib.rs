//! Trees of files: paths confined to a root, copying, hashing, layer archives, merged views.
