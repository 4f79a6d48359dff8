# python3 pyhanko_judge.py ROOT.pem MOMENT FILE…: one line of JSON a file, with what pyHanko thinks of its signatures as of a
# moment in ISO 8601.
import json
import logging
import sys
from datetime import datetime

from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature, validate_pdf_timestamp
from pyhanko_certvalidator import ValidationContext

logging.disable(logging.CRITICAL)


def judge(root, path):
    with open(path, 'rb') as file:
        reader = PdfFileReader(file, strict=False)
        signatures = []
        for embedded in reader.embedded_signatures:
            context = ValidationContext(trust_roots=[root], allow_fetching=False, moment=moment)
            try:
                if embedded.sig_object.get('/SubFilter') == '/ETSI.RFC3161':
                    status = validate_pdf_timestamp(embedded, context)
                else:
                    status = validate_pdf_signature(embedded, context, ts_validation_context=context)
                signatures.append({
                    'field': embedded.field_name,
                    # Document timestamps have no bottom line of their own.
                    'valid': bool(getattr(status, 'bottom_line', status.intact and status.valid and status.trusted)),
                    'intact': bool(status.intact),
                    'summary': f'{status.summary()} {getattr(status, "diff_result", None) or ""}',
                })
            except Exception as error:
                signatures.append({
                    'field': embedded.field_name,
                    'valid': False,
                    'intact': False,
                    'summary': f'{type(error).__name__}: {error}',
                })
        return signatures


root = load_cert_from_pemder(sys.argv[1])
moment = datetime.fromisoformat(sys.argv[2])
for path in sys.argv[3:]:
    try:
        line = {'signatures': judge(root, path)}
    except Exception as error:
        line = {'error': f'{type(error).__name__}: {error}'}
    print(json.dumps(line))
