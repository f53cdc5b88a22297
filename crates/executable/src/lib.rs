//! What machine an executable's header is for, as a platform.
