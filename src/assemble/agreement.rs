//! What the images of one stack must agree in, so that one number means the same in each of them: how samples are
//! stored, and whether they are rescaled.
//!
//! Slopes themselves may differ from slice to slice (Philips). But a scanner that rescales does so everywhere, and does
//! not change how it stores in the middle of a series: an image that differs was damaged, or altered by somebody.

use std::collections::BTreeMap;

use super::scan::ScannedFile;
use super::stacks::ImageRef;

/// The first thing in which the images of a stack disagree, or that is no number in one of them.
pub fn disagreement(files: &[ScannedFile], images: &[ImageRef]) -> Option<String> {
    let image = |place: &ImageRef| &files[place.file].images[place.image];
    if let Some(why) = images.iter().find_map(|place| image(place).rescale.as_ref().err()) {
        return Some(why.clone());
    }
    for (which, name) in ["Rescale Slope", "Rescale Intercept"].into_iter().enumerate() {
        let rescaled = images.iter().filter(|place| image(place).has_rescale[which]).count();
        if rescaled > 0 && rescaled < images.len() {
            return Some(format!("{rescaled} of {} images have a {name}", images.len()));
        }
    }
    let mut storages: BTreeMap<String, usize> = BTreeMap::new();
    for format in images.iter().filter_map(|place| files[place.file].format.as_ref()) {
        *storages.entry(format.storage()).or_default() += 1;
    }
    (storages.len() > 1).then(|| {
        let kinds: Vec<String> = storages.iter().map(|(storage, count)| format!("{count} {storage}")).collect();
        format!("the images are stored in different ways ({})", kinds.join("; "))
    })
}
