//! The store: blobs, layers, images, containers and cache records on one disk, shared by many processes.
