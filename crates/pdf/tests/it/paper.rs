//! Puts appearances on a page, so that other people's tools can look at them.

use sealpost_pdf::Appearance;

/// A one-page PDF that shows each appearance with its lower left corner at a point.
pub(crate) fn sheet(width: f64, height: f64, appearances: &[(f64, f64, &Appearance)]) -> Vec<u8> {
    let mut objects: Vec<Vec<u8>> = vec![Vec::new(); 3];
    let mut xobjects = String::new();
    let mut content = String::new();
    for (i, (x, y, appearance)) in appearances.iter().enumerate() {
        let mut images = String::new();
        for (n, image) in appearance.images.iter().enumerate() {
            let alpha: Vec<u8> = image.pixels.iter().skip(3).step_by(4).copied().collect();
            let rgb: Vec<u8> = image
                .pixels
                .chunks(4)
                .flat_map(|p| &p[..3])
                .copied()
                .collect();
            let entry = format!(
                "/Type/XObject/Subtype/Image/Width {}/Height {}/BitsPerComponent 8",
                image.width, image.height
            );
            objects.push(stream(&format!("{entry}/ColorSpace/DeviceGray"), &alpha));
            let mask = objects.len();
            objects.push(stream(
                &format!("{entry}/ColorSpace/DeviceRGB/SMask {mask} 0 R"),
                &rgb,
            ));
            images.push_str(&format!("/Im{n} {} 0 R", objects.len()));
        }
        objects.push(stream(
            &format!(
                "/Type/XObject/Subtype/Form/BBox[0 0 {} {}]/Resources<</XObject<<{images}>>>>",
                appearance.width_pt, appearance.height_pt
            ),
            &appearance.content,
        ));
        xobjects.push_str(&format!("/X{i} {} 0 R", objects.len()));
        content.push_str(&format!("q 1 0 0 1 {x} {y} cm /X{i} Do Q\n"));
    }
    objects.push(stream("", content.as_bytes()));
    let contents = objects.len();
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>".to_vec();
    objects[1] = b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec();
    objects[2] = format!(
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]/Contents {contents} 0 R\
         /Resources<</XObject<<{xobjects}>>>>>>"
    )
    .into_bytes();

    file(&objects)
}

/// A one-page PDF with these entries in its page and this content.
pub(crate) fn page(entries: &str, content: &str) -> Vec<u8> {
    file(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        format!("<</Type/Page/Parent 2 0 R{entries}/Contents 4 0 R/Resources<<>>>>").into_bytes(),
        stream("", content.as_bytes()),
    ])
}

/// A PDF of these objects, the first of which is the catalog.
pub(crate) fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut pdf = b"%PDF-1.7\n".to_vec();
    let mut xref = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (i, object) in objects.iter().enumerate() {
        xref.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.extend_from_slice(format!("{} 0 obj\n", i + 1).as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    pdf.extend_from_slice(xref.as_bytes());
    let trailer = format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n");
    pdf.extend_from_slice(trailer.as_bytes());
    pdf
}

/// A stream with these entries in its dictionary.
pub(crate) fn stream(entries: &str, data: &[u8]) -> Vec<u8> {
    let mut object = format!("<<{entries}/Length {}>>\nstream\n", data.len()).into_bytes();
    object.extend_from_slice(data);
    object.extend_from_slice(b"\nendstream");
    object
}
