# python3 pyhanko_judge.py PROFILE ROOT.pem FILE…: one line of JSON a file, with what pyHanko thinks of its signatures. The
# profile is '-', 'pades' or 'pades-lta'; with one, the file must bring all evidence along.
import json
import logging
import sys

from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_ltv_signature, validate_pdf_signature, validate_pdf_timestamp
from pyhanko.sign.validation.ltv import RevocationInfoValidationType
from pyhanko_certvalidator import ValidationContext

logging.disable(logging.CRITICAL)


def judge(root, path):
    with open(path, 'rb') as file:
        reader = PdfFileReader(file, strict=False)
        signatures = []
        found = reader.embedded_regular_signatures if profile else reader.embedded_signatures
        for embedded in found:
            context = ValidationContext(trust_roots=[root], allow_fetching=False)
            try:
                if profile:
                    status = validate_pdf_ltv_signature(
                        embedded, RevocationInfoValidationType(profile), {'trust_roots': [root]},
                    )
                elif embedded.sig_object.get('/SubFilter') == '/ETSI.RFC3161':
                    status = validate_pdf_timestamp(embedded, context)
                else:
                    status = validate_pdf_signature(embedded, context, ts_validation_context=context)
                signatures.append({
                    'valid': bool(status.bottom_line),
                    'intact': bool(status.intact),
                    'summary': status.summary(),
                })
            except Exception as error:
                signatures.append({
                    'valid': False,
                    'intact': False,
                    'summary': f'{type(error).__name__}: {error}',
                })
        return signatures


profile = '' if sys.argv[1] == '-' else sys.argv[1]
root = load_cert_from_pemder(sys.argv[2])
for path in sys.argv[3:]:
    try:
        line = {'signatures': judge(root, path)}
    except Exception as error:
        line = {'error': f'{type(error).__name__}: {error}'}
    print(json.dumps(line))
