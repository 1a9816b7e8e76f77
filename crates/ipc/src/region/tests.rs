//! Regions from outside.
