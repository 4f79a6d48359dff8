//! What happened to a flow, in words, for the console and for reports.

use sealpost_flow::{Flow, Happening, Message, SignerNo, Who};

use crate::pages::lang::Lang;

/// An event in words.
pub(crate) struct Told {
    /// What happened.
    pub(crate) what: &'static str,
    /// To whom, why and the like; may be empty.
    pub(crate) more: String,
}

/// What happened, in words.
pub(crate) fn tell(flow: &Flow, what: &Happening, lang: Lang) -> Told {
    let name = |no: &SignerNo| name(flow, *no);
    let (zh, en, more) = match what {
        Happening::Created { reference, .. } => ("创建", "Created", reference.clone()),
        Happening::Started => ("开始签署", "Started", String::new()),
        Happening::Opened { signer } => ("轮到签署", "Turn came", name(signer)),
        Happening::Viewed { signer } => ("查看文件", "Viewed", name(signer)),
        Happening::Reminded { signers } => {
            let names: Vec<String> = signers.iter().map(name).collect();
            ("催签", "Reminded", names.join("、"))
        }
        Happening::Notified {
            signer,
            message,
            contact,
            failure,
            ..
        } => {
            let (zh, en) = match (message, failure) {
                (Message::Code, None) => ("已发验证码", "Code sent"),
                (Message::Code, Some(_)) => ("验证码未发出", "Code not sent"),
                (Message::Reminder, None) => ("已发催签消息", "Reminder sent"),
                (Message::Reminder, Some(_)) => ("催签消息未发出", "Reminder not sent"),
            };
            let failure = failure.as_deref().unwrap_or_default();
            (zh, en, [&name(signer), contact, failure].join(" "))
        }
        Happening::Authenticated {
            signer, contact, ..
        } => (
            "验证码验证通过",
            "Proven by code",
            [&name(signer), contact.as_str()].join(" "),
        ),
        Happening::Agreed { signer, .. } => ("同意电子签署", "Agreed to sign", name(signer)),
        Happening::Signed { signer, .. } => ("签署", "Signed", name(signer)),
        Happening::Applied { signer, .. } => ("签名写入文件", "Signature applied", name(signer)),
        Happening::Downgraded {
            signer,
            wanted,
            reached,
            reason,
        } => {
            let whose = signer.as_ref().map(name).unwrap_or_default();
            let more = format!("{whose} {wanted} → {reached}: {reason}");
            ("签名级别降低", "Lower level", more.trim().to_owned())
        }
        Happening::Preserved {
            level, renew_by: _, ..
        } => (
            "长期验证信息写入文件",
            "Preserved",
            level.as_str().to_owned(),
        ),
        Happening::SealingFailed { reason, .. } => ("封印失败", "Sealing failed", reason.clone()),
        Happening::Completed { .. } => ("完成（已复验）", "Completed, verified", String::new()),
        Happening::Revoked { reason } => ("撤销", "Revoked", reason.clone()),
        Happening::Expired => ("过期", "Expired", String::new()),
        Happening::Rejected { signer, reason } => {
            ("拒签", "Rejected", format!("{}：{reason}", name(signer)))
        }
    };
    Told {
        what: lang.say(zh, en),
        more: more.trim().to_owned(),
    }
}

/// Who did something, in words.
pub(crate) fn tell_who(flow: &Flow, who: &Who, lang: Lang) -> String {
    match who {
        Who::Initiator { .. } => lang.say("发起方", "Initiator").to_owned(),
        Who::Signer { signer } => name(flow, *signer),
        Who::Operator => lang.say("运营", "Operator").to_owned(),
        Who::System => lang.say("系统", "System").to_owned(),
    }
}

fn name(flow: &Flow, no: SignerNo) -> String {
    flow.signer(no)
        .map(|signer| signer.party.name().to_owned())
        .unwrap_or_default()
}
