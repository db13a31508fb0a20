// What a browser has to do itself: times in the local zone, the clipboard, files,
// dialogs, and fields that depend on others. All of it works on what htmx adds, too.
(function () {
  'use strict';

  function each(root, selector, act) {
    if (root.matches && root.matches(selector)) { act(root); }
    root.querySelectorAll(selector).forEach(act);
  }

  // say tells people who hear the page.
  function say(text) {
    var said = document.getElementById('said');
    said.textContent = '';
    window.setTimeout(function () { said.textContent = text; }, 50);
  }

  // Times.
  var form = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  function times(root) {
    each(root, 'time[datetime]', function (time) {
      var at = new Date(time.getAttribute('datetime'));
      if (isNaN(at) || time.title) { return; }
      time.title = time.textContent;
      time.textContent = form.format(at);
    });
  }

  // Copying.
  function copy(button) {
    var from = document.getElementById(button.getAttribute('data-copy'));
    if (!from) { return; }
    var done = function () {
      button.classList.add('copied');
      say('Copied.');
      window.setTimeout(function () { button.classList.remove('copied'); }, 1500);
    };
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(from.textContent).then(done, function () { select(from); });
    } else {
      select(from);
      if (document.execCommand('copy')) { done(); }
    }
  }
  function select(node) {
    var range = document.createRange();
    range.selectNodeContents(node);
    var selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  // Certificates: a file that is text fills the text field, any other is sent byte for byte
  // as base64. A private key does not leave this browser.
  var maxFile = 256 * 1024;
  function take(slot, file) {
    var field = slot.querySelector('textarea');
    var raw = slot.querySelector('[data-bytes]');
    var shown = document.getElementById(field.id + '-shown');
    field.value = '';
    raw.value = '';
    if (file.size === 0) { refuse(shown, 'This file is empty.'); return; }
    if (file.size > maxFile) { refuse(shown, 'This file is too large: a certificate file has at most 256 KB.'); return; }
    file.arrayBuffer().then(function (buffer) {
      var bytes = new Uint8Array(buffer);
      var secret = secretIn(bytes);
      if (secret) {
        refuse(shown, 'This file contains ' + secret + '. It was not sent. Choose a file that contains only the certificate.');
        return;
      }
      var text = textOf(bytes);
      if (text !== null) { field.value = text; } else { raw.value = base64(bytes); }
      field.dispatchEvent(new Event('change', { bubbles: true }));
    });
  }
  // textOf returns the text of UTF-8, null where the bytes are something else.
  function textOf(bytes) {
    try {
      var text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      return text.indexOf('\0') < 0 ? text : null;
    } catch (e) { return null; }
  }
  function binary(bytes) {
    var out = '';
    for (var i = 0; i < bytes.length; i += 0x8000) { out += String.fromCharCode.apply(null, bytes.subarray(i, i + 0x8000)); }
    return out;
  }
  function base64(bytes) { return window.btoa(binary(bytes)); }
  // secretIn says what private key a file has, '' for none. In PEM of any encoding the label
  // says it. In DER a certificate, a request and PKCS #7 begin with another structure or a
  // name; keys (PKCS #1, PKCS #8, SEC 1) and PFX (PKCS #12) with a version number, encrypted
  // keys with an algorithm that has parameters.
  function secretIn(bytes) {
    if (/PRIVATE KEY-----/.test(binary(bytes).replace(/\0/g, ''))) { return 'a private key'; }
    if (bytes[0] !== 0x30) { return ''; }
    var at = bytes[1] < 0x80 ? 2 : 2 + (bytes[1] & 0x7f);
    if (bytes[at] !== 0x02) { return ''; }
    return bytes[at + 1] === 1 && bytes[at + 2] === 3 ? 'a PFX archive, which usually holds a private key' : 'a private key';
  }
  function refuse(shown, text) {
    var box = document.createElement('div');
    box.className = 'field-error';
    box.setAttribute('role', 'alert');
    box.textContent = text;
    shown.replaceChildren(box);
  }
  function slots(root) {
    each(root, '[data-slot]', function (slot) {
      if (slot.ready) { return; }
      slot.ready = true;
      var drop = slot.querySelector('[data-drop]');
      var input = slot.querySelector('input[type=file]');
      slot.querySelector('textarea').addEventListener('input', function () { slot.querySelector('[data-bytes]').value = ''; });
      input.addEventListener('change', function () { if (input.files.length > 0) { take(slot, input.files[0]); } });
      ['dragenter', 'dragover'].forEach(function (name) {
        drop.addEventListener(name, function (event) { event.preventDefault(); drop.classList.add('over'); });
      });
      ['dragleave', 'drop'].forEach(function (name) {
        drop.addEventListener(name, function (event) { event.preventDefault(); drop.classList.remove('over'); });
      });
      drop.addEventListener('drop', function (event) {
        if (event.dataTransfer.files.length > 0) { take(slot, event.dataTransfer.files[0]); }
      });
    });
  }

  // Fields that are there for some choices only: data-when="name=value,value".
  function whens(root) {
    each(root, 'form[data-when-form]', function (f) {
      if (f.ready) { return; }
      f.ready = true;
      var update = function () {
        f.querySelectorAll('[data-when]').forEach(function (part) {
          var rule = part.getAttribute('data-when').split('=');
          var field = f.elements[rule[0]];
          var value = field ? field.value : '';
          var on = rule[1].split(',').indexOf(value) >= 0;
          part.hidden = !on;
          part.querySelectorAll('input, select, textarea').forEach(function (e) { e.disabled = !on; });
        });
      };
      f.addEventListener('change', update);
      update();
    });
  }

  // Many at once.
  function bulks(root) {
    each(root, 'form[data-bulk]', function (f) {
      if (f.ready) { return; }
      f.ready = true;
      var all = f.querySelector('[data-bulk-all]');
      var boxes = Array.prototype.slice.call(f.querySelectorAll('input[name=id]'));
      var update = function () {
        var n = boxes.filter(function (b) { return b.checked; }).length;
        f.querySelector('[data-bulk-bar]').hidden = n === 0;
        f.querySelector('[data-bulk-count]').textContent = n + ' selected';
        all.checked = n > 0 && n === boxes.length;
        all.indeterminate = n > 0 && n < boxes.length;
      };
      all.addEventListener('change', function () {
        boxes.forEach(function (b) { b.checked = all.checked; });
        update();
      });
      f.addEventListener('change', update);
      update();
    });
  }

  // Dialogs.
  function ask(button) {
    var dialog = document.getElementById('confirm');
    document.getElementById('confirm-title').textContent = button.getAttribute('data-confirm');
    document.getElementById('confirm-detail').textContent = button.getAttribute('data-confirm-detail') || '';
    var yes = document.getElementById('confirm-yes');
    yes.textContent = button.getAttribute('data-confirm-button') || 'Delete';
    yes.onclick = function () {
      dialog.close();
      var f = button.form;
      var confirm = document.createElement('input');
      confirm.type = 'hidden';
      confirm.name = 'confirm';
      confirm.value = 'yes';
      f.appendChild(confirm);
      f.requestSubmit(button);
    };
    dialog.showModal();
  }

  document.addEventListener('click', function (event) {
    var at = function (selector) { return event.target.closest ? event.target.closest(selector) : null; };
    var button = at('[data-copy]');
    if (button) { copy(button); return; }
    button = at('[data-confirm]');
    if (button && !(button.form && button.form.querySelector('input[name=confirm]'))) {
      event.preventDefault();
      ask(button);
      return;
    }
    button = at('[data-open]');
    if (button) { document.getElementById(button.getAttribute('data-open')).showModal(); return; }
    button = at('[data-close]');
    if (button) { button.closest('dialog').close(); return; }
    button = at('[data-menu]');
    if (button) {
      var open = document.documentElement.classList.toggle('menu-open');
      button.setAttribute('aria-expanded', String(open));
      return;
    }
    document.querySelectorAll('details.account[open]').forEach(function (d) { if (!d.contains(event.target)) { d.open = false; } });
  });
  document.addEventListener('keydown', function (event) {
    if (event.key !== 'Escape') { return; }
    document.querySelectorAll('details.account[open]').forEach(function (d) { d.open = false; d.querySelector('summary').focus(); });
    document.documentElement.classList.remove('menu-open');
  });

  // The session: where it has ended, the password is asked for in place, and what was under
  // way goes on. The page and all that was entered stay, files too.
  var box = document.getElementById('session');
  var pending = []; // what goes on, or is given up
  function renew(csrf) {
    document.querySelectorAll('input[name=csrf]').forEach(function (field) { field.value = csrf; });
    document.body.setAttribute('hx-headers', JSON.stringify({ 'X-CSRF-Token': csrf }));
  }
  function state(response) {
    return response.json().then(function (s) { s.status = response.status; return s; });
  }
  // whenSignedIn runs act once there is a session whose forms this page can send, or drop
  // when somebody gives up.
  function whenSignedIn(act, drop) {
    window.fetch('/session', { cache: 'no-store' }).then(state).then(function (s) {
      if (s.csrf && (!s.mustChange || location.pathname === '/password')) { renew(s.csrf); act(); return; }
      pending.push({ act: act, drop: drop });
      showSession(s);
    }, act); // without an answer the request itself says what is wrong
  }
  function showSession(s) {
    document.getElementById('session-change').hidden = !s.mustChange;
    document.getElementById('session-error').replaceChildren();
    if (!box.open) { box.showModal(); }
  }
  function signedIn(s) {
    if (s.mustChange && location.pathname !== '/password') { showSession(s); return; }
    renew(s.csrf);
    var all = pending;
    pending = [];
    box.close();
    say('Signed in again.');
    all.forEach(function (p) { p.act(); });
  }
  function signInAgain() {
    var field = document.getElementById('session-password');
    window.fetch('/session', { cache: 'no-store' }).then(state).then(function (s) {
      if (s.csrf) { return s; } // in another tab
      return window.fetch('/sign-in', {
        method: 'POST', cache: 'no-store', headers: { 'X-In-Place': '1' }, body: new URLSearchParams({ password: field.value })
      }).then(state);
    }).then(function (s) {
      field.value = '';
      if (s.csrf) { signedIn(s); return; }
      refuse(document.getElementById('session-error'), s.error || 'Signing in failed.');
      field.focus();
    }, function () { refuse(document.getElementById('session-error'), 'The service does not answer.'); });
  }
  if (box) {
    document.getElementById('session-form').addEventListener('submit', function (event) {
      event.preventDefault();
      signInAgain();
    });
    box.addEventListener('close', function () {
      document.getElementById('session-password').value = '';
      var all = pending;
      pending = [];
      all.forEach(function (p) { p.drop(); });
    });
  }

  // A form is sent once the session is known to be there, and not twice.
  document.addEventListener('submit', function (event) {
    var f = event.target;
    if (f.getAttribute('method') !== 'post' || f.hasAttribute('hx-post')) { return; }
    if (f.sent) { event.preventDefault(); return; }
    f.sent = true;
    var button = event.submitter;
    if (button) { button.setAttribute('aria-busy', 'true'); }
    if (!box || f.checkedSession || f.getAttribute('action') === '/sign-out') { return; }
    event.preventDefault();
    whenSignedIn(function () {
      f.sent = false;
      f.checkedSession = true;
      f.requestSubmit(button);
      f.checkedSession = false;
    }, function () { release(f); });
  });
  function release(f) {
    f.sent = false;
    f.querySelectorAll('button[aria-busy]').forEach(function (b) { b.removeAttribute('aria-busy'); });
  }
  window.addEventListener('pageshow', function () {
    document.querySelectorAll('form').forEach(function (f) { f.sent = false; });
    document.querySelectorAll('button[aria-busy]').forEach(function (b) { b.removeAttribute('aria-busy'); });
  });

  // The first field that is wrong is where to go on.
  function focusError() {
    var wrong = document.querySelector('[aria-invalid=true]');
    if (wrong) { wrong.focus(); }
  }

  function ready(root) { times(root); slots(root); whens(root); bulks(root); }
  document.body.addEventListener('htmx:load', function (event) { ready(event.detail.elt); });
  document.body.addEventListener('htmx:configRequest', function (event) {
    if (event.detail.elt.hasAttribute('data-poll')) { event.detail.headers['X-Poll'] = '1'; }
  });
  // A request of htmx that found no session: its answer is not shown, and it is sent again.
  document.body.addEventListener('htmx:beforeSwap', function (event) {
    var why = event.detail.xhr.getResponseHeader('X-Session');
    if (!why || !box) { return; }
    var config = event.detail.requestConfig;
    var from = config.elt;
    event.detail.shouldSwap = false;
    if (from.hasAttribute('data-poll') && from.gaveUp) { return; }
    whenSignedIn(function () {
      if (document.contains(from)) { window.htmx.ajax(config.verb, config.path, { source: from, target: event.detail.target }); }
    }, function () { from.gaveUp = true; });
  });
  document.body.addEventListener('htmx:sendError', function () { say('The service does not answer.'); });
  ready(document);
  focusError();
})();
