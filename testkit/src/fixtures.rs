//! What many tests begin with.

use crate::bench::Bench;
use crate::image::Image;
use crate::needs;
use crate::registry::LoopbackRegistry;

/// A bench for which `busybox:latest` and `alpine:latest` are a small image with a shell, or nothing after saying
/// that this machine has no static `busybox`.
#[must_use]
pub fn with_busybox() -> Option<(Bench, LoopbackRegistry)> {
    let Some(image) = Image::of_busybox() else {
        needs::skipped("no static busybox (Debian's package busybox-static)");
        return None;
    };
    let registry = LoopbackRegistry::start();
    registry.put("library/busybox", "latest", &image).put("library/alpine", "latest", &image);
    let bench = Bench::new().with_registry(&registry);
    Some((bench, registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_serves_the_image() {
        let Some((_bench, registry)) = with_busybox() else { return };
        assert!(registry.manifest("library/busybox", "latest").is_some());
    }
}
