// Pages opened from a disk may not start a Worker, which is where Material searches. This runs it in a hidden frame
// instead; Material's own way to do that is fetched from another host.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #ready;

    constructor(url) {
      super();
      this.#frame.hidden = true;
      const address = new URL(url, document.baseURI).href;
      this.#ready = new Promise((resolve) => {
        const begin = () => {
          document.body.append(this.#frame);
          const inside = this.#frame.contentWindow;
          inside.postMessage = (data) => setTimeout(() => this.#tell(data));
          inside.importScripts = () => {};
          const script = inside.document.createElement("script");
          script.onload = () => resolve(inside);
          script.src = address;
          inside.document.body.append(script);
        };
        document.body ? begin() : addEventListener("DOMContentLoaded", begin, { once: true });
      });
    }

    #tell(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      this.onmessage?.(event);
    }

    postMessage(data) {
      this.#ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }

    terminate() {
      this.#frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
