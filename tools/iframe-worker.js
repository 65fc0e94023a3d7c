// A browser starts no Worker for a page that comes from a folder, and the site's search is one.  There an iframe with the
// worker's script stands in for it.  (The offline plugin would load such a script from elsewhere.)
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const page = this.inside.document;
      const load = (script) =>
        new Promise((done) => page.body.append(Object.assign(page.createElement("script"), { src: script, onload: done })));
      page.open();
      page.write("<body></body>");
      page.close();
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.importScripts = (...scripts) => scripts.reduce((last, one) => last.then(() => load(one)), Promise.resolve());
      this.loaded = load(url);
    }

    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
