//! Content-addressed blobs and their metadata: the one store behind the command line and the registry.
