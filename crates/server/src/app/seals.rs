//! Seals: what each kind looks like, those that an operator or a channel keeps by a name, and pictures of them.
//!
//! A flow keeps its seals as they were when it was made: changing or removing a kept seal changes no flow that is under way.

use bytes::Bytes;
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;
use sealpost_pdf::{
    Appearance, NameSeal, OvalSeal, PictureSeal, RoundSeal, SealError, SignError, render,
};
use sealpost_store::{NewSeal, StoredSeal};
use serde::{Deserialize, Serialize};

use super::App;
use crate::problem::{FieldError, Problem};
use crate::secrets::{random, sha256};

/// The most bytes of a picture of a seal.
pub(crate) const MAX_PICTURE: usize = 1024 * 1024;

/// The most characters of the name that a kept seal is listed under.
pub(crate) const LABEL_CHARS: usize = 64;

/// The most seals that one channel keeps, and that are kept for all channels.
const MOST: usize = 200;

/// How wide a picture is on paper unless its width is given, in millimetres.
pub(crate) const PICTURE_MM: f64 = 38.0;

/// A seal, as it is kept with a flow or under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Seal {
    /// An organization's round seal, 38 mm; with words of its own below the star, or none.
    Company {
        organization: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legend: Option<String>,
    },
    /// 财务专用章: round, 38 mm.
    Finance { organization: String },
    /// 合同专用章: round, 38 mm.
    Contract { organization: String },
    /// Oval, 45 × 30 mm.
    Oval {
        organization: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legend: Option<String>,
    },
    /// A person's square name seal, 18 mm.
    Name { name: String },
    /// An own picture, a PNG among the documents of the store.
    Picture { png: Digest, width_mm: f64 },
}

/// A seal that someone asks for, with its picture if it is one.
#[derive(Debug, Clone)]
pub(crate) struct WantedSeal {
    pub(crate) seal: Seal,
    pub(crate) png: Option<Bytes>,
}

impl WantedSeal {
    /// A picture of one's own.
    pub(crate) fn picture(png: Bytes, width_mm: f64) -> Self {
        let digest = Digest::from_bytes(sha256(&png));
        let seal = Seal::Picture {
            png: digest,
            width_mm,
        };
        Self {
            seal,
            png: Some(png),
        }
    }
}

impl From<Seal> for WantedSeal {
    fn from(seal: Seal) -> Self {
        Self { seal, png: None }
    }
}

/// Why a seal cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrawError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the seal's picture is not at hand")]
    NoPicture,
}

impl Seal {
    /// The kind, as the API names it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Seal::Company { .. } => "company",
            Seal::Finance { .. } => "finance",
            Seal::Contract { .. } => "contract",
            Seal::Oval { .. } => "oval",
            Seal::Name { .. } => "name",
            Seal::Picture { .. } => "picture",
        }
    }

    /// Draws it; `png` is the picture of a seal that is one.
    pub(crate) fn draw(&self, png: Option<&[u8]>) -> Result<Appearance, DrawError> {
        let round = |organization: &str, legend: Option<&str>| {
            let seal = RoundSeal {
                organization: organization.to_owned(),
                legend: legend.map(str::to_owned),
            };
            seal.draw()
        };
        Ok(match self {
            Seal::Company {
                organization,
                legend,
            } => round(organization, legend.as_deref())?,
            Seal::Finance { organization } => round(organization, Some("财务专用章"))?,
            Seal::Contract { organization } => round(organization, Some("合同专用章"))?,
            Seal::Oval {
                organization,
                number,
                legend,
            } => OvalSeal {
                organization: organization.clone(),
                number: number.clone(),
                legend: legend.clone(),
            }
            .draw()?,
            Seal::Name { name } => NameSeal { name: name.clone() }.draw()?,
            Seal::Picture { width_mm, .. } => PictureSeal {
                png: png.ok_or(DrawError::NoPicture)?,
                width_mm: *width_mm,
            }
            .draw()?,
        })
    }
}

/// A seal that cannot be drawn as a problem of the member below `path` (with a dot at its end) that is to blame.
pub(crate) fn refused(path: &str, error: &DrawError) -> FieldError {
    let (member, code, limit) = match error {
        DrawError::Seal(SealError::Length {
            field, length, max, ..
        }) if length > max => (*field, "too_long", Some(*max)),
        DrawError::Seal(SealError::Length { field, min, .. }) => (*field, "too_short", Some(*min)),
        DrawError::Seal(SealError::MissingGlyph { field, .. }) => (*field, "missing_glyph", None),
        DrawError::Seal(_) | DrawError::NoPicture => ("picture_base64", "cannot_be_drawn", None),
    };
    let refused = FieldError::new(format!("{path}{member}"), code, error.to_string());
    match limit {
        Some(limit) => refused.limit(limit),
        None => refused,
    }
}

/// A picture of a seal for looking at it, on white.
pub(crate) fn preview(appearance: &Appearance, width: u32) -> Result<Vec<u8>, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        Problem::field("seal", "cannot_be_drawn", error.to_string())
    };
    let pdf = appearance
        .to_pdf()
        .map_err(|error: SignError| failed(&error))?;
    render::page_png(&pdf, 0, width).map_err(|error| failed(&error))
}

impl App {
    /// Draws a seal; its picture is read from the store.
    pub(crate) async fn draw_seal(&self, seal: &Seal) -> Result<Appearance, String> {
        let png = match seal {
            Seal::Picture { png, .. } => {
                let picture = self.store().document(png).await;
                Some(picture.map_err(|error| crate::problem::Chain(&error).to_string())?)
            }
            _ => None,
        };
        let seal = seal.clone();
        self.on_paper(move || seal.draw(png.as_deref()).map_err(|error| error.to_string()))
            .await
            .map_err(|problem| problem.detail().to_owned())?
    }

    /// Draws a seal that someone asks for, and keeps its picture, if it has one. `path` is that of the seal in the request, with
    /// a dot at its end.
    pub(crate) async fn take_seal(
        &self,
        wanted: &WantedSeal,
        path: &str,
    ) -> Result<Appearance, Problem> {
        let WantedSeal { seal, png } = wanted.clone();
        let drawn = self
            .on_paper(move || seal.draw(png.as_deref()))
            .await?
            .map_err(|error| Problem::fields(vec![refused(path, &error)]))?;
        if let Some(png) = &wanted.png {
            self.store().put_document(png.to_vec()).await?;
        }
        Ok(drawn)
    }

    /// Keeps a seal under a name, for one channel or for all.
    pub(crate) async fn add_seal(
        &self,
        channel_id: Option<&str>,
        label: &str,
        wanted: &WantedSeal,
    ) -> Result<KeptSeal, Problem> {
        self.take_seal(wanted, "seal.").await?;
        let spec = serde_json::to_string(&wanted.seal)
            .map_err(|error| Problem::internal("a seal cannot be written down", &error))?;
        let new = StoredSeal {
            id: format!("seal_{}", hex::encode(random::<8>()?)),
            channel_id: channel_id.map(str::to_owned),
            name: label.to_owned(),
            spec,
            created_at: self.now(),
        };
        match self.store().create_seal(new.clone(), MOST).await? {
            NewSeal::Created => KeptSeal::read(new),
            NewSeal::NameTaken => Err(Problem::field(
                "label",
                "taken",
                "there is another seal of this name",
            )),
            NewSeal::TooMany => Err(Problem::field(
                "label",
                "too_many",
                format!("there are {MOST} seals already; remove some"),
            )),
        }
    }

    /// The seals that a channel may use: its own and those for all, by name. Without a channel, all that there are.
    pub(crate) async fn seals(&self, channel_id: Option<&str>) -> Result<Vec<KeptSeal>, Problem> {
        let stored = self.store().seals(channel_id).await?;
        stored.into_iter().map(KeptSeal::read).collect()
    }

    /// A kept seal, if this channel may use it; without a channel, whoever's it is.
    pub(crate) async fn find_seal(
        &self,
        channel_id: Option<&str>,
        id: &str,
    ) -> Result<Option<KeptSeal>, Problem> {
        let stored = self.store().find_seal(id).await?;
        stored
            .filter(|seal| {
                channel_id.is_none_or(|channel| {
                    seal.channel_id
                        .as_deref()
                        .is_none_or(|owner| owner == channel)
                })
            })
            .map(KeptSeal::read)
            .transpose()
    }

    /// Forgets a kept seal; `false` if there is none. Flows that use it go on.
    pub(crate) async fn remove_seal(&self, id: &str) -> Result<bool, Problem> {
        Ok(self.store().remove_seal(id).await?)
    }

    /// The PNG of a kept seal.
    pub(crate) async fn seal_png(&self, seal: &Seal, width: u32) -> Result<Vec<u8>, Problem> {
        let drawn = self
            .draw_seal(seal)
            .await
            .map_err(|reason| Problem::field("seal", "cannot_be_drawn", reason))?;
        self.on_paper(move || preview(&drawn, width)).await?
    }
}

/// A seal that is kept under a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptSeal {
    pub(crate) id: String,
    /// Whose; `None`: every channel may use it.
    pub(crate) channel_id: Option<String>,
    /// What it is listed under.
    pub(crate) label: String,
    pub(crate) seal: Seal,
    pub(crate) created_at: UtcMillis,
}

impl KeptSeal {
    fn read(stored: StoredSeal) -> Result<Self, Problem> {
        let seal = serde_json::from_str(&stored.spec)
            .map_err(|error| Problem::internal("a kept seal cannot be read", &error))?;
        Ok(Self {
            id: stored.id,
            channel_id: stored.channel_id,
            label: stored.name,
            seal,
            created_at: stored.created_at,
        })
    }
}
