//! The style sheets, scripts and icons of the pages, inside the binary.
//!
//! Each is served under a name that contains a digest of its bytes, so browsers may keep it for a year: other bytes have
//! another name. Templates link to [`Asset::url`].

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file of the pages.
pub(crate) struct Asset {
    /// Absolute path that serves it, with its digest.
    pub(crate) url: String,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($static:ident, $name:literal, $extension:literal, $media_type:literal) => {
        #[doc = concat!("`assets/", $name, ".", $extension, "`.")]
        pub(crate) static $static: LazyLock<Asset> = LazyLock::new(|| {
            Asset::new(
                $name,
                $extension,
                $media_type,
                include_bytes!(concat!("../../assets/", $name, ".", $extension)),
            )
        });
    };
}

asset!(SIGN_CSS, "sign", "css", "text/css; charset=utf-8");
asset!(SIGN_JS, "sign", "js", "text/javascript; charset=utf-8");
asset!(PAD_JS, "pad", "js", "text/javascript; charset=utf-8");
asset!(VIEWER_JS, "viewer", "js", "text/javascript; charset=utf-8");
asset!(CONSOLE_CSS, "console", "css", "text/css; charset=utf-8");
asset!(
    CONSOLE_JS,
    "console",
    "js",
    "text/javascript; charset=utf-8"
);
asset!(ICON, "icon", "svg", "image/svg+xml");

static ALL: LazyLock<[&'static Asset; 7]> = LazyLock::new(|| {
    [
        &*SIGN_CSS,
        &*SIGN_JS,
        &*PAD_JS,
        &*VIEWER_JS,
        &*CONSOLE_CSS,
        &*CONSOLE_JS,
        &*ICON,
    ]
});

impl Asset {
    fn new(name: &str, extension: &str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let url = format!(
            "/assets/{name}.{}.{extension}",
            hex::encode(&digest.as_ref()[..6])
        );
        Self {
            url,
            media_type,
            bytes,
        }
    }
}

/// `GET /assets/{file}`.
pub(crate) async fn serve_asset(Path(file): Path<String>) -> Response {
    match ALL
        .iter()
        .find(|asset| asset.url.strip_prefix("/assets/") == Some(file.as_str()))
    {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.media_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
