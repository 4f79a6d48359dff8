//! Decodes the streams of a file's own structure: cross-reference and object streams.

use std::io::Read as _;

use super::{Budget, Unreadable, damaged};
use crate::syntax::{Dict, Value};

/// Decodes `data` by the `/Filter` and `/DecodeParms` of `dict`: nothing, or FlateDecode with an optional predictor. What is
/// decoded counts against `budget`.
pub(super) fn decode(
    data: &[u8],
    dict: &Dict,
    budget: &Budget,
    at: usize,
) -> Result<Vec<u8>, Unreadable> {
    let filter = single(dict.value(b"Filter"));
    let parameters = single(dict.value(b"DecodeParms"));
    let decoded = match filter {
        Some(Value::Null) => {
            budget.decode(data.len())?;
            data.to_vec()
        }
        Some(Value::Name(name)) if name == b"FlateDecode" => inflate(data, budget, at)?,
        _ => return damaged("a structure stream has a filter other than FlateDecode", at),
    };
    match parameters {
        Some(Value::Null) => Ok(decoded),
        Some(Value::Dict(parameters)) => unpredict(decoded, parameters, at),
        _ => damaged("a structure stream's parameters are malformed", at),
    }
}

/// The only element of an array of one, the value itself otherwise.
fn single(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(items) if items.len() == 1 => Some(&items[0].value),
        Value::Array(items) if items.is_empty() => Some(&Value::Null),
        Value::Array(_) => None,
        other => Some(other),
    }
}

fn inflate(data: &[u8], budget: &Budget, at: usize) -> Result<Vec<u8>, Unreadable> {
    let mut out = Vec::new();
    let most = budget.decodable() as u64 + 1;
    let ended = flate2::read::ZlibDecoder::new(data)
        .take(most)
        .read_to_end(&mut out);
    // What comes before a torn end was work too.
    budget.decode(out.len())?;
    match ended {
        Ok(_) => Ok(out),
        Err(_) => damaged("a compressed structure cannot be decompressed", at),
    }
}

/// Undoes a PNG predictor (section 7.4.4.4).
fn unpredict(data: Vec<u8>, parameters: &Dict, at: usize) -> Result<Vec<u8>, Unreadable> {
    match parameters.int(b"Predictor").unwrap_or(1) {
        1 => return Ok(data),
        10..=15 => {}
        _ => return damaged("a structure stream has an unknown predictor", at),
    }
    let positive = |key: &[u8], default| match parameters.int(key).unwrap_or(default) {
        value @ 1..=65_536 => usize::try_from(value).ok(),
        _ => None,
    };
    let sizes = (
        positive(b"Colors", 1),
        positive(b"BitsPerComponent", 8),
        positive(b"Columns", 1),
    );
    let (Some(colors @ 1..=32), Some(bits @ 1..=16), Some(columns)) = sizes else {
        return damaged("a predictor's parameters are out of range", at);
    };
    let pixel = (colors * bits).div_ceil(8);
    let row = (colors * bits * columns).div_ceil(8);
    if !data.len().is_multiple_of(row + 1) {
        return damaged("a predicted stream has a torn row", at);
    }
    let mut out: Vec<u8> = Vec::with_capacity(data.len());
    for line in data.chunks_exact(row + 1) {
        let start = out.len();
        for (n, &byte) in line[1..].iter().enumerate() {
            let left = if n >= pixel {
                out[start + n - pixel]
            } else {
                0
            };
            let up = if start >= row {
                out[start + n - row]
            } else {
                0
            };
            let corner = if n >= pixel && start >= row {
                out[start + n - row - pixel]
            } else {
                0
            };
            let predicted = match line[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => u8::midpoint(left, up),
                4 => paeth(left, up, corner),
                _ => return damaged("a predicted stream has an unknown row type", at),
            };
            out.push(byte.wrapping_add(predicted));
        }
    }
    Ok(out)
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |value: u8| (estimate - i16::from(value)).abs();
    if distance(left) <= distance(up) && distance(left) <= distance(corner) {
        left
    } else if distance(up) <= distance(corner) {
        up
    } else {
        corner
    }
}
