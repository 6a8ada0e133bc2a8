/* Managed by Ansible (role webmail) */
/* What Roundcube's skin does not say to a screen reader or to the keyboard. It changes pages as they are used, so they are
   looked at again after each change. */
(() => {
  const each = (selector, mend) => document.querySelectorAll(selector).forEach(mend);
  const name = (element, text) => { if (text && text.trim()) element.setAttribute('aria-label', text.trim()); };

  function mend() {
    // icons, whose words are hidden where there is little room
    each('a:not([aria-label]) > .inner', (inner) => name(inner.parentNode, inner.textContent));
    each('a:is(.toolbar-list-button, .toolbar-menu-button):not([aria-label])', (link) => name(link, rcmail.get_label('actions')));
    each('a.reset:not([aria-label]):empty', (link) => name(link, rcmail.get_label('delete')));
    each('iframe:not([title])', (frame) => { frame.title = document.title; });
    each('a.disabled:not([aria-disabled=true])', (link) => link.setAttribute('aria-disabled', 'true'));
    each('a[aria-disabled=true]:not(.disabled, .selected)', (link) => link.setAttribute('aria-disabled', 'false'));
    // a list of links is no menu, and a table's body stands between a listbox and its options
    each('ul:not([role]) > li[role=menuitem]', (item) => item.removeAttribute('role'));
    each('table[role=listbox] > :is(thead, tbody):not([role])', (part) => part.setAttribute('role', 'presentation'));
    each('input:not([role])[aria-expanded]', (field) => field.removeAttribute('aria-expanded'));
    // fields whose label is a tooltip, or out of sight
    each('input[title]:not([aria-label])', (field) => name(field, field.title));
    each(':is(input, textarea):not([aria-label], [type=hidden])', (field) => {
      const label = field.id && document.querySelector(`label[for="${CSS.escape(field.id)}"]`);
      const row = field.closest('.form-group');
      if (label ? !label.offsetParent : !field.closest('label')) name(field, (label || (row && row.querySelector('label')) || {}).textContent);
    });
    // in the order of the page
    each('[tabindex]:not([tabindex="0"], [tabindex="-1"])', (element) => { element.tabIndex = 0; });
  }

  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; mend(); });
  };
  document.addEventListener('DOMContentLoaded', () => {
    mend();
    new MutationObserver(soon).observe(document.body, {childList: true, subtree: true, attributeFilter: ['class', 'tabindex']});
  });
})();
