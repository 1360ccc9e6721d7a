//! Signed distances (mm, negative inside) to the simple bodies of which the head is made.

/// A place in the head's frame: mm from the brain's centre, x to the subject's left, y to the back, z up.
pub type Place = [f32; 3];

#[inline]
pub fn minus(a: Place, b: Place) -> Place {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline]
pub fn dot(a: Place, b: Place) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[inline]
pub fn length(a: Place) -> f32 {
    dot(a, a).sqrt()
}

/// Distance to an ellipsoid, exact on its surface and to first order near it.
#[inline]
pub fn ellipsoid(place: Place, centre: Place, radii: Place) -> f32 {
    let p = minus(place, centre);
    let a = [p[0] / radii[0], p[1] / radii[1], p[2] / radii[2]];
    let b = [a[0] / radii[0], a[1] / radii[1], a[2] / radii[2]];
    let k0 = length(a);
    let k1 = length(b);
    if k1 < 1e-6 { -radii[0].min(radii[1]).min(radii[2]) } else { k0 * (k0 - 1.0) / k1 }
}

/// Distance to a round bar from `a` to `b` whose radius goes from `radius_a` to `radius_b`.
#[inline]
pub fn bar(place: Place, a: Place, b: Place, radius_a: f32, radius_b: f32) -> f32 {
    let along = minus(b, a);
    let p = minus(place, a);
    let t = (dot(p, along) / dot(along, along)).clamp(0.0, 1.0);
    length([p[0] - t * along[0], p[1] - t * along[1], p[2] - t * along[2]]) - (radius_a + t * (radius_b - radius_a))
}

/// The union of two bodies, rounded over about `k` mm where they meet.
#[inline]
pub fn blend(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// What two bodies have in common, rounded over about `k` mm.
#[inline]
pub fn common(a: f32, b: f32, k: f32) -> f32 {
    -blend(-a, -b, k)
}

/// How much of a voxel lies inside a surface at this signed distance: 1 inside, 0 outside, and a ramp
/// of `width` mm between.
#[inline]
pub fn inside(distance: f32, width: f32) -> f32 {
    (0.5 - distance / width).clamp(0.0, 1.0)
}

/// 0 at and below `low`, 1 at and above `high`, smooth between.
#[inline]
pub fn rise(value: f32, low: f32, high: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
