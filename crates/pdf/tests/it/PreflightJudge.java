// Validates PDFs with Apache PDFBox's preflight, which knows PDF/A-1b. Arguments: PDFs. A line for each error: the file, its code and
// what it says, tab between each.

import java.io.File;
import org.apache.pdfbox.preflight.PreflightDocument;
import org.apache.pdfbox.preflight.ValidationResult;
import org.apache.pdfbox.preflight.exception.SyntaxValidationException;
import org.apache.pdfbox.preflight.parser.PreflightParser;
public final class PreflightJudge {
    public static void main(String[] arguments) throws Exception {
        for (String path : arguments) {
            ValidationResult result;
            try {
                PreflightParser parser = new PreflightParser(new File(path));
                parser.parse();
                try (PreflightDocument document = parser.getPreflightDocument()) {
                    document.validate();
                    result = document.getResult();
                }
            } catch (SyntaxValidationException error) {
                result = error.getResult();
            }
            for (ValidationResult.ValidationError error : result.getErrorsList()) {
                System.out.println(path + "\t" + error.getErrorCode() + "\t" + error.getDetails());
            }
        }
    }
}
