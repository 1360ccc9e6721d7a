//! Why a manifest cannot be used.

/// A manifest that cannot be used. The folder that it lies in is named by
/// [`super::ModelFolderError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, or a field is missing, unknown or of another type.
    #[error("it cannot be read: {0}")]
    Syntax(String),
    /// A field's value is not allowed or contradicts the architecture.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Dotted name of the field, e.g. `map.shape`.
        field: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// A field with another value than expected.
pub(super) fn wrong(
    field: impl Into<String>,
    expected: impl Into<String>,
    found: impl std::fmt::Debug,
) -> ManifestError {
    ManifestError::Field { field: field.into(), expected: expected.into(), found: format!("{found:?}") }
}
