//! Left-right mirroring: axis D of the network's RAS grid runs from the patient's left to right.

/// Mirrors a `[D, H, W]` volume (C order) along axis D, in place.
pub fn left_right(shape: [usize; 3], values: &mut [f32]) {
    let slice = shape[1] * shape[2];
    let slices = shape[0];
    for low in 0..slices / 2 {
        let high = slices - 1 - low;
        let (before, after) = values.split_at_mut(high * slice);
        before[low * slice..(low + 1) * slice].swap_with_slice(&mut after[..slice]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn twice_is_nothing_and_once_is_reversed() {
        let before: Vec<f32> = (0..30u8).map(f32::from).collect();
        let mut values = before.clone();
        super::left_right([5, 2, 3], &mut values);
        assert_eq!(values[..6], before[24..]);
        assert_eq!(values[12..18], before[12..18]);
        super::left_right([5, 2, 3], &mut values);
        assert_eq!(values, before);
    }
}
