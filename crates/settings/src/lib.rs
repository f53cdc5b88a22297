//! One settings model: files, environment and flags; credentials and credential helpers.
