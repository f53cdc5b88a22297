//! Prebuilt binaries to a multi-platform image.
