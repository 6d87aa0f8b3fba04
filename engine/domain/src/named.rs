//! Enumerations with one stable name per variant: the name in texts, in the API and in the catalog.
//!
//! It does not carry data in variants: those enumerations have their own code.

/// The text is none of the names of this enumeration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not one of {names}")]
pub struct UnknownName {
    /// What was given.
    pub text: String,
    /// What would have been understood, for people.
    pub names: String,
}

macro_rules! named {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All variants, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::operation::UnknownName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|it| it.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|it| it.as_str()).collect();
                    $crate::operation::UnknownName { text: text.to_owned(), names: names.join(", ") }
                })
            }
        }
    };
}
pub(crate) use named;
