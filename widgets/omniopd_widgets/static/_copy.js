// Put a text on the clipboard, exactly; true where the browser let us.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without a secure origin, or without leave, the copy event is the way that is left.
    const put = (event) => {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    document.addEventListener("copy", put, { capture: true, once: true });
    const done = document.execCommand("copy");
    document.removeEventListener("copy", put, { capture: true });
    return done;
  }
}
