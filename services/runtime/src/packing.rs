//! Packing: items that were written one by one become records of bounded size (§10.3).

use orrery_model::codec::HEADER_LEN;
use orrery_model::limits::PACKED_BYTES;

/// Of a record that is a list, besides its items: the header, their number, the end of the list.
const LIST_BYTES: usize = HEADER_LEN + 10 + 1;

/// Divides items into records of at most [`PACKED_BYTES`]; one item alone may be larger.
pub(crate) fn packs<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut left = items;
    std::iter::from_fn(move || {
        let mut taken = LIST_BYTES;
        let fits = |item: &&T| {
            taken += bytes(item);
            taken <= PACKED_BYTES
        };
        let (pack, behind) = left.split_at(left.iter().take_while(fits).count().max(1).min(left.len()));
        left = behind;
        (!pack.is_empty()).then_some(pack)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_are_full_in_order_and_never_empty() {
        let third = PACKED_BYTES / 3 - LIST_BYTES;
        let packed = |items: &[usize]| packs(items, |bytes| *bytes).map(<[usize]>::len).collect::<Vec<_>>();
        assert_eq!(packed(&[]), [0; 0]);
        assert_eq!(packed(&[third; 7]), [3, 3, 1]);
        assert_eq!(packed(&[1, PACKED_BYTES, 2 * PACKED_BYTES, 1, 1]), [1, 1, 1, 2], "too large for a record: alone");
    }
}
