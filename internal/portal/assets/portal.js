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

  // Certificates: a file becomes the text of its field. One with a private key does not
  // leave this browser.
  var maxFile = 256 * 1024;
  function take(slot, file) {
    var field = slot.querySelector('textarea');
    var shown = document.getElementById(field.id + '-shown');
    if (file.size > maxFile) { refuse(shown, 'This file is too large for a certificate.'); return; }
    file.arrayBuffer().then(function (buffer) {
      var bytes = new Uint8Array(buffer);
      var text = new TextDecoder('latin1').decode(bytes);
      if (/PRIVATE KEY-----/.test(text)) {
        field.value = '';
        refuse(shown, 'This file holds a private key. It was not sent. Choose the certificate alone.');
        return;
      }
      if (!/-----BEGIN/.test(text) && bytes[0] === 0x30) { // DER
        text = '-----BEGIN CERTIFICATE-----\n' + btoa(text).replace(/.{64}/g, '$&\n') + '\n-----END CERTIFICATE-----\n';
      }
      field.value = text;
      field.dispatchEvent(new Event('change', { bubbles: true }));
    });
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
        f.querySelector('[data-bulk-count]').textContent = n === 1 ? '1 ticked' : n + ' ticked';
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

  // A form that is under way is not sent twice.
  document.addEventListener('submit', function (event) {
    var f = event.target;
    if (f.method !== 'post' || f.hasAttribute('hx-post')) { return; }
    if (f.sent) { event.preventDefault(); return; }
    f.sent = true;
    if (event.submitter) { event.submitter.setAttribute('aria-busy', 'true'); }
  });
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
  document.body.addEventListener('htmx:sendError', function () { say('The service does not answer.'); });
  ready(document);
  focusError();
})();
