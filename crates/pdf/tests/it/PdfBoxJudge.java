// Opens PDFs with Apache PDFBox and judges every signature with Bouncy Castle.
//
// Arguments: the trusted root (PEM), then PDFs. For every signature one line: the file, the name in the signature dictionary's /Name,
// whether the CMS verifies over the signed bytes, whether the certificate leads to the root, and the algorithms, tab between each.

import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.security.cert.CertPathValidator;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Set;
import org.apache.pdfbox.pdmodel.PDDocument;
import org.apache.pdfbox.pdmodel.interactive.digitalsignature.PDSignature;
import org.bouncycastle.asn1.ASN1InputStream;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

public final class PdfBoxJudge {
    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        CertificateFactory certificates = CertificateFactory.getInstance("X.509", "BC");
        X509Certificate root;
        try (InputStream in = Files.newInputStream(Path.of(arguments[0]))) {
            root = (X509Certificate) certificates.generateCertificate(in);
        }
        for (int n = 1; n < arguments.length; n++) {
            byte[] file = Files.readAllBytes(Path.of(arguments[n]));
            try (PDDocument document = PDDocument.load(file)) {
                for (PDSignature signature : document.getSignatureDictionaries()) {
                    judge(arguments[n], file, signature, root, certificates);
                }
            }
        }
    }

    private static void judge(
            String path,
            byte[] file,
            PDSignature signature,
            X509Certificate root,
            CertificateFactory certificates)
            throws Exception {
        byte[] content = signature.getSignedContent(file);
        // The structure ends before the zeros that fill its place.
        ContentInfo structure;
        try (ASN1InputStream in = new ASN1InputStream(signature.getContents(file))) {
            structure = ContentInfo.getInstance(in.readObject());
        }
        CMSSignedData cms = new CMSSignedData(new CMSProcessableByteArray(content), structure);
        SignerInformation signer = cms.getSignerInfos().getSigners().iterator().next();
        @SuppressWarnings("unchecked")
        X509CertificateHolder holder =
                (X509CertificateHolder) cms.getCertificates().getMatches(signer.getSID()).iterator().next();
        X509Certificate leaf =
                (X509Certificate)
                        certificates.generateCertificate(new ByteArrayInputStream(holder.getEncoded()));

        boolean intact;
        try {
            intact = signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(leaf));
        } catch (CMSException error) {
            System.err.println(path + ": " + error);
            intact = false;
        }
        boolean trusted;
        try {
            PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
            parameters.setRevocationEnabled(false);
            parameters.setDate(signature.getSignDate().getTime());
            CertPathValidator.getInstance("PKIX", "BC")
                    .validate(certificates.generateCertPath(List.of(leaf)), parameters);
            trusted = true;
        } catch (java.security.cert.CertPathValidatorException error) {
            System.err.println(path + ": " + error);
            trusted = false;
        }
        System.out.printf(
                "%s\t%s\t%s\t%s\t%s with %s, certificate %s%n",
                path,
                signature.getName(),
                intact ? "intact" : "broken",
                trusted ? "trusted" : "untrusted",
                signer.getDigestAlgOID(),
                signer.getEncryptionAlgOID(),
                leaf.getSigAlgName());
    }
}
