//! Times, states and reasons in the reader's words.

use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;
use sealpost_flow::Status;
use sealpost_store::{CallbackState, Role};

use super::view::Badge;
use crate::app::App;
use crate::pages::lang::Lang;

/// How values are said to one reader.
pub(crate) struct Words<'a> {
    pub(crate) lang: Lang,
    pub(crate) zone: &'a TimeZone,
    pub(crate) now: UtcMillis,
}

impl<'a> Words<'a> {
    pub(crate) fn of(app: &'a App, lang: Lang) -> Self {
        Self {
            lang,
            zone: &app.config().time_zone,
            now: app.now(),
        }
    }

    pub(crate) fn say(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.lang.say(zh, en)
    }

    /// To the second, in the platform's zone.
    pub(crate) fn time(&self, at: UtcMillis) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S")
    }

    /// Month and day.
    pub(crate) fn day(&self, at: UtcMillis) -> String {
        self.format(at, "%m-%d")
    }

    /// A date.
    pub(crate) fn date(&self, at: UtcMillis) -> String {
        self.format(at, "%Y-%m-%d")
    }

    /// The midnight that begins a day (`2026-11-24`) in the platform's zone, or one `days` later; `None` for anything else.
    pub(crate) fn midnight(&self, day: &str, days: i32) -> Option<UtcMillis> {
        let day: jiff::civil::Date = day.parse().ok()?;
        let day = (0..days).try_fold(day, |day, _| day.tomorrow()).ok()?;
        let midnight = self.zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
        Some(midnight.as_millisecond())
    }

    fn format(&self, at: UtcMillis, form: &str) -> String {
        match jiff::Timestamp::from_millisecond(at) {
            Ok(time) => self.zone.to_datetime(time).strftime(form).to_string(),
            Err(_) => String::new(),
        }
    }

    /// How long ago, or until when, in one unit.
    pub(crate) fn span(&self, millis: i64) -> String {
        let seconds = millis.unsigned_abs() / 1000;
        let (number, zh, en) = match seconds {
            0..=119 => (seconds, "秒", "s"),
            120..=7199 => (seconds / 60, "分钟", "min"),
            7200..=172_799 => (seconds / 3600, "小时", "h"),
            _ => (seconds / 86_400, "天", "d"),
        };
        format!("{number} {}", self.lang.say(zh, en))
    }

    /// Milliseconds that something took.
    pub(crate) fn duration(&self, millis: u32) -> String {
        if millis < 10_000 {
            format!("{millis} ms")
        } else {
            format!("{:.1} s", f64::from(millis) / 1000.0)
        }
    }

    pub(crate) fn status(&self, status: Status) -> Badge {
        let (class, zh, en) = match status {
            Status::Draft => ("plain", "草稿", "Draft"),
            Status::Signing => ("open", "签署中", "Signing"),
            Status::Sealing => ("open", "封印中", "Sealing"),
            Status::Completed => ("done", "已完成", "Completed"),
            Status::Revoked => ("stop", "已撤销", "Revoked"),
            Status::Expired => ("stop", "已过期", "Expired"),
            Status::Rejected => ("stop", "已拒签", "Rejected"),
        };
        Badge {
            class,
            text: self.say(zh, en),
        }
    }

    pub(crate) fn callback(&self, state: CallbackState) -> Badge {
        let (class, zh, en) = match state {
            CallbackState::Waiting => ("open", "等待", "Waiting"),
            CallbackState::Acknowledged => ("done", "已确认", "Acknowledged"),
            CallbackState::Failed => ("stop", "失败", "Failed"),
        };
        Badge {
            class,
            text: self.say(zh, en),
        }
    }

    /// Why an attempt did not acknowledge, by the code of [`sealpost_delivery::Reason`]; a code that is not known says itself.
    pub(crate) fn reason<'b>(&self, code: &'b str) -> &'b str {
        let (zh, en) = match code {
            "blocked_url" => ("地址不允许", "URL not allowed"),
            "blocked_address" => ("内网地址，未放行", "Address not allowed"),
            "dns" => ("域名解析失败", "Name not found"),
            "connect_refused" => ("连接被拒绝", "Connection refused"),
            "connect_failed" => ("连接不上", "No connection"),
            "tls" => ("TLS 证书或握手有误", "TLS failed"),
            "timeout" => ("超时", "Timed out"),
            "connection_closed" => ("连接中途断开", "Connection closed"),
            "bad_http" => ("应答不是 HTTP", "Not HTTP"),
            "answer_too_large" => ("应答过大", "Answer too large"),
            "redirect" => ("跳转，不跟随", "Redirect, not followed"),
            "http_status" => ("HTTP 状态不是 2xx", "HTTP status is not 2xx"),
            "gone" => ("对方已停用（410）", "Gone (410)"),
            "not_json" => ("应答不是 JSON", "Answer is not JSON"),
            "response_code" => ("响应码不是 000", "Code is not 000"),
            other => return other,
        };
        self.say(zh, en)
    }

    pub(crate) fn role(&self, role: Role) -> &'static str {
        match role {
            Role::Viewer => self.say("查看者", "Viewer"),
            Role::Operator => self.say("操作员", "Operator"),
            Role::Administrator => self.say("管理员", "Administrator"),
        }
    }
}
