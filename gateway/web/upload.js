// Sending a recording. By XMLHttpRequest: fetch tells nothing of how far an upload has come.

import { ApiError, Unreachable } from "./api.js";

/** PUT `blob` to a signed address. `onProgress` gets the share that is sent. Throws ApiError, Unreachable, AbortError. */
export function upload(url, blob, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const hangUp = () => request.abort();
    signal.addEventListener("abort", hangUp, { once: true });
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => (request.status === 200 ? resolve() : reject(refusal(request)));
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(new DOMException("the upload was cancelled", "AbortError"));
    request.onloadend = () => signal.removeEventListener("abort", hangUp);
    request.open("PUT", url);
    request.setRequestHeader("content-type", blob.type);
    request.send(blob);
  });
}

function refusal({ status, responseText }) {
  let words = `The server answered ${status}.`;
  try {
    words = JSON.parse(responseText).detail ?? words;
  } catch {
    // a proxy in between may answer in HTML
  }
  return new ApiError(status, words);
}
