//! Who signed, and how each proved who they are.

use sealpost_flow::{Digest, Happening, Method, Party, Signer, Step};
use sealpost_pdf::{FactGroup, FactSection};
use sealpost_store::StoredEvent;

use super::Paper;
use super::facts::Facts;

impl Paper<'_> {
    pub(super) fn parties(&self) -> FactSection {
        let signers = self.flow.signers.iter();
        FactSection {
            heading: self.say("签署方", "Parties").to_owned(),
            lead: None,
            groups: signers.map(|signer| self.party(signer)).collect(),
        }
    }

    fn party(&self, signer: &Signer) -> FactGroup {
        let mut facts = Facts::default();
        let kind = match &signer.party {
            Party::Person { .. } => self.say("个人", "Person"),
            Party::Organization {
                automatic: true, ..
            } => self.say("机构（自动盖章）", "Organization, sealed automatically"),
            Party::Organization { .. } => self.say("机构", "Organization"),
        };
        facts.put(self.say("类型", "Type"), kind);
        facts.put(self.say("签署顺序", "Order"), signer.order.to_string());
        // Whoever has not acted yet has proven nothing.
        if !matches!(signer.step, Step::Waiting | Step::Open { .. }) {
            let proven = self.authentication(signer);
            facts.put(self.say("身份认证", "Authentication"), proven);
        }
        let mut program = None;
        for StoredEvent { event, .. } in self.events {
            match &event.what {
                Happening::Agreed {
                    signer: no,
                    consent,
                    digest,
                    language,
                } if *no == signer.no => {
                    facts.put(
                        self.say("同意的文字", "Agreed to"),
                        format!("“{consent}” ({language}, {})", self.time(event.at)),
                    );
                    facts.put(
                        self.say("文字的摘要", "Digest of these words"),
                        digest.to_string(),
                    );
                }
                Happening::Signed {
                    signer: no, typed, ..
                } if *no == signer.no => {
                    program.clone_from(&event.user_agent);
                    facts.put_some(self.say("键入的姓名", "Typed name"), typed.clone());
                }
                _ => {}
            }
        }
        match &signer.step {
            Step::Signed { intent } | Step::Applied { intent, .. } => {
                facts.put(self.say("签署时间", "Signed"), self.time(intent.at));
                let address = intent.address.map(|address| address.to_string());
                facts.put_some(self.say("网络地址", "Address"), address);
                facts.put_some(self.say("所用程序", "Program"), program);
                facts.put(
                    self.say("所见文件的摘要", "Digest of what was shown"),
                    intent.document.to_string(),
                );
                let mark = intent.mark.as_ref().map(Digest::to_string);
                facts.put_some(self.say("签名图样的摘要", "Digest of the mark"), mark);
            }
            Step::Rejected { at } => facts.put(self.say("拒签时间", "Rejected"), self.time(*at)),
            Step::Waiting | Step::Open { .. } => {}
        }
        if let Step::Applied {
            at,
            document,
            certificate,
            ..
        } = &signer.step
        {
            facts.put(self.say("写入文件", "Put into the file"), self.time(*at));
            facts.put(
                self.say("写入后文件的摘要", "Digest of the file with it"),
                document.to_string(),
            );
            facts.put(
                self.say("证书序列号", "Certificate serial"),
                certificate.as_str(),
            );
        }
        facts.group(Some(format!("{}. {}", signer.no, signer.party.name())))
    }

    /// How the signer proved who they are.
    fn authentication(&self, signer: &Signer) -> String {
        if signer.party.is_automatic() {
            let said = self.say(
                "由发起方授权，自动盖章",
                "Sealed automatically, as the initiator is authorized to",
            );
            return said.to_owned();
        }
        let proven = self.events.iter().rev().find_map(|stored| {
            let Happening::Authenticated {
                signer: no,
                method,
                contact,
            } = &stored.event.what
            else {
                return None;
            };
            (*no == signer.no).then_some((method, contact, stored.event.at))
        });
        match proven {
            Some((method, contact, at)) => {
                let way = match method {
                    Method::Sms => self.say("短信验证码", "Code by SMS"),
                    Method::Email => self.say("邮件验证码", "Code by e-mail"),
                };
                format!("{way} {contact} ({})", self.time(at))
            }
            None => self
                .say("持有专属签署链接", "By having the secret link")
                .to_owned(),
        }
    }
}
