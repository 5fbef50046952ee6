//! CBOR as a tree, to change messages as no type of ours would.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// One value of the few sorts that messages are made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(i128),
    Bool(bool),
    Null,
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    pub fn parse(bytes: &[u8]) -> Value {
        let mut decoder = Decoder::new(bytes);
        let value = read(&mut decoder);
        assert_eq!(decoder.position(), bytes.len());
        value
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        self.write(&mut encoder);
        encoder.into_writer()
    }

    /// Calls `change` with the fields of each struct and of each variant.
    pub fn each_map(&mut self, change: &mut impl FnMut(&mut Vec<(Value, Value)>)) {
        match self {
            Value::Array(values) => values.iter_mut().for_each(|value| value.each_map(change)),
            Value::Map(fields) => {
                fields.iter_mut().for_each(|(_, value)| value.each_map(change));
                change(fields);
            }
            _ => {}
        }
    }

    /// The number of each variant: an enum is an array of that and of the variant's fields.
    pub fn variants(&mut self) -> Vec<&mut i128> {
        match self {
            Value::Array(values) => match &mut values[..] {
                [Value::Number(variant), fields @ Value::Map(_)] => {
                    let mut all = vec![variant];
                    all.extend(fields.variants());
                    all
                }
                values => values.iter_mut().flat_map(Value::variants).collect(),
            },
            Value::Map(fields) => {
                fields.iter_mut().flat_map(|(_, value)| value.variants()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn write(&self, encoder: &mut Encoder<Vec<u8>>) {
        match self {
            Value::Number(number) => {
                encoder.int(minicbor::data::Int::try_from(*number).unwrap()).map(drop)
            }
            Value::Bool(value) => encoder.bool(*value).map(drop),
            Value::Null => encoder.null().map(drop),
            Value::Bytes(bytes) => encoder.bytes(bytes).map(drop),
            Value::Text(text) => encoder.str(text).map(drop),
            Value::Array(values) => {
                encoder.array(values.len() as u64).unwrap();
                return values.iter().for_each(|value| value.write(encoder));
            }
            Value::Map(fields) => {
                encoder.map(fields.len() as u64).unwrap();
                return fields.iter().for_each(|(key, value)| {
                    key.write(encoder);
                    value.write(encoder);
                });
            }
        }
        .unwrap();
    }
}

fn read(decoder: &mut Decoder<'_>) -> Value {
    match decoder.datatype().unwrap() {
        Type::Bool => Value::Bool(decoder.bool().unwrap()),
        Type::Null => {
            decoder.null().unwrap();
            Value::Null
        }
        Type::Bytes => Value::Bytes(decoder.bytes().unwrap().to_vec()),
        Type::String => Value::Text(decoder.str().unwrap().to_owned()),
        Type::Array => {
            let length = decoder.array().unwrap().unwrap();
            Value::Array((0..length).map(|_| read(decoder)).collect())
        }
        Type::Map => {
            let length = decoder.map().unwrap().unwrap();
            Value::Map((0..length).map(|_| (read(decoder), read(decoder))).collect())
        }
        _ => Value::Number(decoder.int().unwrap().into()),
    }
}
