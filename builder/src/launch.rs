//! The environment of a process of an image.

use crate::Image;

/// Applies the image's changes for `process` to `base` (the app's configuration and what the platform sets).
pub fn environment(_image: &Image, _process: &str, _base: Vec<(String, String)>) -> Vec<(String, String)> {
    todo!()
}
