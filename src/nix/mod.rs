//! Nix vocabulary and formats.
