// How much of a file has arrived, in percent: Streamlit's own uploader shows a wheel alone.
if (!window.scfvizUploads) {
  window.scfvizUploads = true;
  const say = (text) =>
    document.querySelectorAll(".upload-progress").forEach((place) => {
      place.textContent = text;
    });
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (String(method).toUpperCase() === "PUT" && String(url).includes("/_stcore/upload_file/")) {
      this.upload.addEventListener("progress", ({ loaded, total, lengthComputable }) => {
        if (!lengthComputable) return;
        const share = Math.floor((100 * loaded) / total);
        say(share < 100 ? `${share} % of ${(total / 1e6).toFixed(1)} MB uploaded` : "Uploaded; it is being kept");
      });
      for (const end of ["abort", "error", "timeout"]) this.upload.addEventListener(end, () => say(""));
      this.addEventListener("loadend", () => say("")); // the server has it: the page shows the file instead
    }
    return open.call(this, method, url, ...rest);
  };
}
