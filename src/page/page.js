// Keeps the page up to date. Without this script it reloads by itself.
'use strict';
(() => {
  const live = () => document.getElementById('live');
  const connection = document.getElementById('connection');
  const say = (text) => { if (connection && connection.textContent !== text) connection.textContent = text; };

  // As the server says it.
  const since = (seconds) =>
    seconds < 10 ? 'just now'
    : seconds < 60 ? `${seconds} s ago`
    : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h ago`
    : `${Math.floor(seconds / 86400)} days ago`;
  const age = () => {
    for (const time of document.querySelectorAll('time[title]')) {
      time.textContent = since(Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000)));
    }
  };
  setInterval(age, 10000);
  if (!live()) return;

  let fetching = false;
  const refresh = async () => {
    if (fetching) return;
    fetching = true;
    try {
      const answer = await fetch(live().dataset.from || 'live', { cache: 'no-store', credentials: 'same-origin' });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('live');
      const old = live();
      // What is open stays open, and the keyboard stays where it is.
      for (const details of old.querySelectorAll('details[id]')) {
        const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
        if (same) same.open = details.open;
      }
      const place = (element) => [...element.querySelectorAll('a, button, summary, input')];
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const name = focused && (focused.getAttribute('aria-label') || focused.textContent);
      old.replaceWith(fresh);
      if (focused) {
        const same = place(fresh).find((element) =>
          element.tagName === focused.tagName && (element.getAttribute('aria-label') || element.textContent) === name);
        if (same) same.focus({ preventScroll: true });
      }
      say('Live');
    } catch {
      say('Not connected');
    } finally {
      fetching = false;
    }
  };

  let polling = 0;
  const poll = () => {
    if (!polling) polling = setInterval(refresh, 15000);
    say('Reloads every 15 s');
  };
  const listen = () => {
    const source = new EventSource('events');
    // A stream ends now and then, and the browser opens the next one. Each brings what merely passes, too, such as when a
    // directory was last heard. A refused one is closed for good.
    let ended = false;
    source.addEventListener('version', (event) => {
      if (!ended && event.data === live().dataset.version) say('Live'); else refresh();
      ended = false;
    });
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) poll();
      else if (ended) say('Not connected');
      ended = true;
    });
    addEventListener('pagehide', () => source.close());
  };
  if ('EventSource' in window) listen(); else poll();
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
})();
