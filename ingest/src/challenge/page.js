(() => {
  const form = document.getElementById("challenge");
  const { token, answer, webdriver } = form.elements;
  webdriver.value = navigator.webdriver ? "1" : "0";
  const widget = form.querySelector("[data-sitekey]");
  let sent = false;
  const send = () => {
    if (!sent) { sent = true; form.submit(); }
  };
  window.linktideAnswered = send;
  form.addEventListener("submit", () => { sent = true; });
  // A page that comes back from the browser's cache has a token that was answered.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (widget || !window.crypto || !crypto.subtle) return;
  const zeros = (digest) => {
    let bits = 0;
    for (const byte of new Uint8Array(digest)) {
      if (byte) return bits + Math.clz32(byte) - 24;
      bits += 8;
    }
    return bits;
  };
  const work = async () => {
    const text = new TextEncoder();
    for (let number = 0; !sent; number++) {
      const digest = await crypto.subtle.digest("SHA-256", text.encode(`${token.value}.${number}`));
      if (zeros(digest) >= Number(form.dataset.bits)) {
        answer.value = number;
        send();
      }
    }
  };
  work();
})();
