//! Incoming PDUs, from their bytes (PS3.8 section 9.3); what is wrong in one is named (`pdu_fault`).
//!
//! Nothing is allocated that the bytes at hand do not hold. Items of types that the standard does not know are passed
//! over, as section 9.3.1 wants; so are those that are not negotiated here. What may come when is judged elsewhere.

use dicom_ul::pdu::{
    AbortRQServiceProviderReason as ProviderReason, AbortRQSource, AssociationAC, AssociationRQ, PDataValue,
    PDataValueType, Pdu, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem, read_pdu,
};

use super::pdu_fault::{Kind, Label, PduFault, Within, name_of};
use super::upper_layer::SMALLEST_MAX_PDU;

/// Type, reserved byte and length.
pub(super) const PDU_HEADER_BYTES: usize = 6;

/// Version, reserved bytes and AE titles of A-ASSOCIATE-RQ and -AC, before their items (PS3.8 tables 9-11 and 9-17).
const ASSOCIATE_FIXED_BYTES: usize = 68;

/// Reads a PDU of this type from everything behind its header.
pub(super) fn read_body(pdu_type: u8, body: &[u8]) -> Result<Pdu, PduFault> {
    match pdu_type {
        0x01 => associate_rq(body).map(Pdu::AssociationRQ),
        0x02 => associate_ac(body).map(Pdu::AssociationAC),
        0x03 => associate_rj(body),
        0x04 => p_data(body),
        0x05 => four_bytes(body).map(|_| Pdu::ReleaseRQ),
        0x06 => four_bytes(body).map(|_| Pdu::ReleaseRP),
        // However it is written, it ends the association: there is nobody left whom a fault would tell anything.
        0x07 => Ok(Pdu::AbortRQ { source: abort_source(body) }),
        _ => Ok(Pdu::Unknown { pdu_type, data: body.to_vec() }),
    }
}

fn four_bytes(body: &[u8]) -> Result<[u8; 4], PduFault> {
    body.first_chunk().copied().ok_or(PduFault::TooShort { bytes: body.len(), needed: 4 })
}

fn abort_source(body: &[u8]) -> AbortRQSource {
    match body {
        [_, _, 0, ..] => AbortRQSource::ServiceUser,
        [_, _, 2, reason, ..] => AbortRQSource::ServiceProvider(match reason {
            0 => ProviderReason::ReasonNotSpecified,
            1 => ProviderReason::UnrecognizedPdu,
            2 => ProviderReason::UnexpectedPdu,
            4 => ProviderReason::UnrecognizedPduParameter,
            5 => ProviderReason::UnexpectedPduParameter,
            6 => ProviderReason::InvalidPduParameter,
            _ => ProviderReason::Reserved,
        }),
        _ => AbortRQSource::Reserved,
    }
}

fn associate_rj(body: &[u8]) -> Result<Pdu, PduFault> {
    let [_, result, origin, reason] = four_bytes(body)?;
    // The codec keeps the meaning of these codes to itself.
    let pdu = [0x03, 0, 0, 0, 0, 4, 0, result, origin, reason];
    match read_pdu(pdu.as_slice(), SMALLEST_MAX_PDU, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) | Err(_) => Err(PduFault::UnknownReason { result, origin, reason }),
    }
}

fn p_data(body: &[u8]) -> Result<Pdu, PduFault> {
    let mut data = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let item = Label { kind: Kind::Pdv, position: 1 + PDU_HEADER_BYTES + body.len() - rest.len() };
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Err(PduFault::StrayBytes { bytes: rest.len(), within: Within::Pdu });
        };
        let length = u32::from_be_bytes(*length);
        let Some((value, after)) = after.split_at_checked(length as usize) else {
            return Err(PduFault::BeyondItsEnd { item, length, left: after.len(), within: Within::Pdu });
        };
        let [presentation_context_id, control, fragment @ ..] = value else {
            let expected = "2 are needed for context id and message control header";
            return Err(PduFault::WrongLength { item, length: value.len(), expected });
        };
        // Message control header, PS3.8 annex E.2: bit 0 command, bit 1 last fragment.
        let value_type = if control & 1 == 1 { PDataValueType::Command } else { PDataValueType::Data };
        data.push(PDataValue {
            presentation_context_id: *presentation_context_id,
            value_type,
            is_last: control & 2 == 2,
            data: fragment.to_vec(),
        });
        rest = after;
    }
    Ok(Pdu::PData { data })
}

// --- items ---

/// An item: type (1 byte), reserved (1), length (2), value.
struct Item<'a> {
    item_type: u8,
    label: Label,
    value: &'a [u8],
}

/// The items in some bytes, one after the other.
struct Items<'a> {
    rest: &'a [u8],
    /// Of the first byte of `rest` within the PDU, counted from 1.
    position: usize,
    within: Within,
}

impl<'a> Items<'a> {
    fn next(&mut self) -> Result<Option<Item<'a>>, PduFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some((header, after)) = self.rest.split_first_chunk::<4>() else {
            return Err(PduFault::StrayBytes { bytes: self.rest.len(), within: self.within });
        };
        let [item_type, _, length @ ..] = *header;
        let length = u16::from_be_bytes(length);
        let label = Label { kind: Kind::Item(item_type), position: self.position };
        let Some((value, after)) = after.split_at_checked(usize::from(length)) else {
            let (length, left) = (u32::from(length), after.len());
            return Err(PduFault::BeyondItsEnd { item: label, length, left, within: self.within });
        };
        self.position += header.len() + value.len();
        self.rest = after;
        Ok(Some(Item { item_type, label, value }))
    }
}

impl<'a> Item<'a> {
    /// The sub-items behind `skipped` bytes of the value.
    fn items(&self, skipped: usize) -> Items<'a> {
        let rest = self.value.get(skipped..).unwrap_or_default();
        Items { rest, position: self.label.position + 4 + skipped, within: Within::Item(self.label) }
    }

    /// An item that is not looked at. One of a known type can only be here because lengths before it are wrong.
    fn pass_over(&self, within: Within) -> Result<(), PduFault> {
        match name_of(self.item_type) {
            Some(_) => Err(PduFault::Misplaced { item: self.label, within }),
            None => Ok(()),
        }
    }

    fn wrong_length(&self, expected: &'static str) -> PduFault {
        PduFault::WrongLength { item: self.label, length: self.value.len(), expected }
    }

    /// Text or a UID: every byte is a character, so that nothing is lost before it is judged.
    fn text(&self) -> String {
        text(self.value)
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect::<String>().trim().to_owned()
}

/// What A-ASSOCIATE-RQ and -AC have in common, with presentation contexts of the one kind or the other.
struct Associate<C> {
    protocol_version: u16,
    called_ae_title: String,
    calling_ae_title: String,
    application_context_name: String,
    presentation_contexts: Vec<C>,
    user_variables: Vec<UserVariableItem>,
}

/// PS3.8 tables 9-11 and 9-17. Presentation contexts are the items of type `context_type`, read by `context`.
fn associate<C>(
    body: &[u8],
    context_type: u8,
    context: impl Fn(&Item<'_>) -> Result<C, PduFault>,
) -> Result<Associate<C>, PduFault> {
    let Some((fixed, items)) = body.split_first_chunk::<ASSOCIATE_FIXED_BYTES>() else {
        return Err(PduFault::TooShort { bytes: body.len(), needed: ASSOCIATE_FIXED_BYTES });
    };
    let mut items = Items { rest: items, position: 1 + PDU_HEADER_BYTES + fixed.len(), within: Within::Pdu };
    let (mut application_context, mut presentation_contexts, mut user_variables) = (None, Vec::new(), Vec::new());
    while let Some(item) = items.next()? {
        match item.item_type {
            0x10 => application_context = Some(item.text()),
            0x50 => user_variables = user_information(&item)?,
            item_type if item_type == context_type => presentation_contexts.push(context(&item)?),
            _ => item.pass_over(Within::Pdu)?,
        }
    }
    Ok(Associate {
        protocol_version: u16::from_be_bytes([fixed[0], fixed[1]]),
        called_ae_title: text(&fixed[4..20]),
        calling_ae_title: text(&fixed[20..36]),
        application_context_name: required(application_context, "Application Context item (10H)", Within::Pdu)?,
        presentation_contexts,
        user_variables,
    })
}

fn associate_rq(body: &[u8]) -> Result<AssociationRQ, PduFault> {
    let read = associate(body, 0x20, proposed_context)?;
    Ok(AssociationRQ {
        protocol_version: read.protocol_version,
        calling_ae_title: read.calling_ae_title,
        called_ae_title: read.called_ae_title,
        application_context_name: read.application_context_name,
        presentation_contexts: read.presentation_contexts,
        user_variables: read.user_variables,
    })
}

fn associate_ac(body: &[u8]) -> Result<AssociationAC, PduFault> {
    let read = associate(body, 0x21, answered_context)?;
    Ok(AssociationAC {
        protocol_version: read.protocol_version,
        calling_ae_title: read.calling_ae_title,
        called_ae_title: read.called_ae_title,
        application_context_name: read.application_context_name,
        presentation_contexts: read.presentation_contexts,
        user_variables: read.user_variables,
    })
}

fn required<T>(found: Option<T>, missing: &'static str, within: Within) -> Result<T, PduFault> {
    found.ok_or(PduFault::Missing { missing, within })
}

/// PS3.8 table 9-13: id, three reserved bytes, an abstract syntax, transfer syntaxes.
fn proposed_context(item: &Item<'_>) -> Result<PresentationContextProposed, PduFault> {
    let [id, _, _, _, ..] = *item.value else { return Err(item.wrong_length("at least 4 were expected")) };
    let (mut abstract_syntax, mut transfer_syntaxes) = (None, Vec::new());
    let within = Within::Item(item.label);
    let mut sub_items = item.items(4);
    while let Some(sub_item) = sub_items.next()? {
        match sub_item.item_type {
            0x30 => abstract_syntax = Some(sub_item.text()),
            0x40 => transfer_syntaxes.push(sub_item.text()),
            _ => sub_item.pass_over(within)?,
        }
    }
    let abstract_syntax = required(abstract_syntax, "Abstract Syntax item (30H)", within)?;
    Ok(PresentationContextProposed { id, abstract_syntax, transfer_syntaxes })
}

/// PS3.8 table 9-18: id, reserved, result, reserved, a transfer syntax (without meaning unless the result is 0).
fn answered_context(item: &Item<'_>) -> Result<PresentationContextResult, PduFault> {
    let [id, _, code, _, ..] = *item.value else { return Err(item.wrong_length("at least 4 were expected")) };
    let reason = match code {
        0 => PresentationContextResultReason::Acceptance,
        1 => PresentationContextResultReason::UserRejection,
        2 => PresentationContextResultReason::NoReason,
        3 => PresentationContextResultReason::AbstractSyntaxNotSupported,
        4 => PresentationContextResultReason::TransferSyntaxesNotSupported,
        _ => return Err(PduFault::UnknownResult { item: item.label, code }),
    };
    let within = Within::Item(item.label);
    let mut transfer_syntax = None;
    let mut sub_items = item.items(4);
    while let Some(sub_item) = sub_items.next()? {
        match sub_item.item_type {
            // One only: which of two would hold?
            0x40 if transfer_syntax.is_none() => transfer_syntax = Some(sub_item.text()),
            _ => sub_item.pass_over(within)?,
        }
    }
    let transfer_syntax = match code {
        0 => required(transfer_syntax, "Transfer Syntax item (40H)", within)?,
        _ => transfer_syntax.unwrap_or_default(),
    };
    Ok(PresentationContextResult { id, reason, transfer_syntax })
}

/// PS3.7 annex D.3.3: what is used here. The rest is not negotiated, and its inside not looked at.
fn user_information(item: &Item<'_>) -> Result<Vec<UserVariableItem>, PduFault> {
    let mut variables = Vec::new();
    let mut sub_items = item.items(0);
    while let Some(sub_item) = sub_items.next()? {
        match sub_item.item_type {
            0x51 => {
                let Ok(bytes) = <[u8; 4]>::try_from(sub_item.value) else {
                    return Err(sub_item.wrong_length("4 were expected"));
                };
                variables.push(UserVariableItem::MaxLength(u32::from_be_bytes(bytes)));
            }
            0x52 => variables.push(UserVariableItem::ImplementationClassUID(sub_item.text())),
            0x55 => variables.push(UserVariableItem::ImplementationVersionName(sub_item.text())),
            0x53 | 0x54 | 0x56..=0x59 => {}
            _ => sub_item.pass_over(Within::Item(item.label))?,
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use dicom_ul::pdu::write_pdu;

    use super::*;

    fn request() -> Vec<u8> {
        let mut bytes = Vec::new();
        let context = |id, syntaxes: &[&str]| PresentationContextProposed {
            id,
            abstract_syntax: "1.2.840.10008.5.1.4.1.1.4".into(),
            transfer_syntaxes: syntaxes.iter().map(|s| (*s).into()).collect(),
        };
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "MR1".into(),
            called_ae_title: "FCDD".into(),
            application_context_name: "1.2.840.10008.3.1.1.1".into(),
            presentation_contexts: vec![context(1, &["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]), context(3, &[])],
            user_variables: vec![
                UserVariableItem::MaxLength(16_384),
                UserVariableItem::ImplementationClassUID("1.2.3".into()),
                UserVariableItem::ImplementationVersionName("X".into()),
            ],
        };
        write_pdu(&mut bytes, &Pdu::AssociationRQ(request)).unwrap();
        bytes
    }

    /// The codec is the other opinion: what it reads, this reads alike, and of what it refuses, this takes only what
    /// the standard says is to be passed over.
    #[test]
    fn every_changed_byte_is_read_as_the_codec_reads_it() {
        let request = request();
        let maximum_length = request.windows(4).position(|four| four == [0x51, 0, 0, 4]).expect("the item is there");
        for position in PDU_HEADER_BYTES..request.len() {
            for value in [0x00, 0x01, 0x0A, 0x7F, 0xFF, request[position].wrapping_add(1)] {
                let mut bytes = request.clone();
                bytes[position] = value;
                let codecs = read_pdu(bytes.as_slice(), 131_072, true);
                match (codecs, read_body(0x01, &bytes[PDU_HEADER_BYTES..])) {
                    (Ok(Some(theirs)), Ok(ours)) if theirs == ours => {}
                    // The codec keeps what is not negotiated, and does not trim the application context.
                    (Ok(Some(Pdu::AssociationRQ(theirs))), Ok(Pdu::AssociationRQ(ours))) => {
                        let known = |item: &&UserVariableItem| !matches!(item, UserVariableItem::Unknown(..));
                        assert!(
                            theirs.user_variables.iter().filter(known).eq(&ours.user_variables),
                            "{position} {value}"
                        );
                        assert_eq!(theirs.application_context_name.trim(), ours.application_context_name);
                        assert_eq!(theirs.presentation_contexts, ours.presentation_contexts);
                    }
                    (Ok(None) | Err(_), Err(_)) => {}
                    (Err(_), Ok(_)) => {
                        let is_passed_over = name_of(value).is_none() || (0x53..=0x59).contains(&value);
                        assert!(is_passed_over, "{position}: item type {value:02X}H");
                    }
                    // The codec does not look at the length of the Maximum Length item.
                    (Ok(Some(_)), Err(fault)) => {
                        assert!(
                            (maximum_length + 2..maximum_length + 4).contains(&position),
                            "{position} {value}: {fault}"
                        );
                    }
                    (theirs, ours) => panic!("{position} {value}: {theirs:?}, {ours:?}"),
                }
            }
        }
    }

    #[test]
    fn every_truncation_is_named() {
        let request = request();
        for length in PDU_HEADER_BYTES..request.len() {
            let Err(fault) = read_body(0x01, &request[PDU_HEADER_BYTES..length]) else { continue };
            let said = fault.to_string();
            assert!(said.contains("bytes") || said.contains("has no"), "{length}: {said}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |pdu_type, body: &[u8]| read_body(pdu_type, body).unwrap_err().to_string();
        assert_eq!(fault(0x01, &[0; 10]), "its fixed fields take 68 bytes, it has 10");
        assert_eq!(fault(0x01, &[0; 70]), "2 stray bytes at the end of the PDU, too few for an item's header");
        let lying = [&[0; 68], [0x10, 0, 0x01, 0x00, b'1'].as_slice()].concat();
        assert_eq!(
            fault(0x01, &lying),
            "the Application Context item (10H) at byte 75 claims 256 bytes, 1 are left in the PDU"
        );
        let nested = [&[0; 68], [0x50, 0, 0, 6, 0x51, 0, 0, 2, 0, 0].as_slice()].concat();
        assert_eq!(fault(0x01, &nested), "the Maximum Length item (51H) at byte 79 has 2 bytes, 4 were expected");
        let value = [0, 0, 0, 3, 1, 2, 7, 0, 0, 1, 0, 1, 2];
        assert_eq!(
            fault(0x04, &value),
            "the presentation data value at byte 14 claims 256 bytes, 2 are left in the PDU"
        );
        assert!(fault(0x03, &[0, 9, 9, 9]).contains("result 9, source 9, reason 9"));
    }

    #[test]
    fn an_abort_is_an_abort_however_it_is_written() {
        let source = |body: &[u8]| match read_body(0x07, body) {
            Ok(Pdu::AbortRQ { source }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(source(&[0, 0, 0, 7]), AbortRQSource::ServiceUser);
        assert_eq!(source(&[0, 0, 2, 6]), AbortRQSource::ServiceProvider(ProviderReason::InvalidPduParameter));
        assert_eq!(source(&[0, 0, 2, 200]), AbortRQSource::ServiceProvider(ProviderReason::Reserved));
        assert_eq!(source(&[]), AbortRQSource::Reserved);
    }
}
