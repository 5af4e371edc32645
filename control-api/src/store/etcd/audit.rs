//! The audit trail in etcd: a key for each call, in order of their ids.
//!
//! What is beyond the bound goes when calls are added that committed nothing, and with the sweep.

use super::{AuditRecord, Etcd, StoreError, delete_range, keys, put_leased, wire};

impl Etcd {
    /// Adds calls; one that is there already is written over with the same.
    pub(super) async fn write_audit(&self, records: Vec<AuditRecord>) -> Result<(), StoreError> {
        self.stage(records.iter().map(|record| put(&self.shared.keys, record)).collect()).await?;
        self.sweep_audit().await
    }

    pub(super) async fn read_audit(&self, before: String, count_max: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let own = &self.shared.keys;
        let prefix = own.audit("");
        let range_end = if before.is_empty() { keys::behind(&prefix) } else { own.audit(&before) };
        if range_end <= prefix {
            return Ok(Vec::new());
        }
        let limit = count_max.min(self.shared.audit_records_max);
        let range = wire::RangeRequest {
            key: prefix.clone(),
            range_end,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            sort_order: wire::range_request::SortOrder::Descend.into(),
            ..wire::RangeRequest::default()
        };
        let answer =
            self.shared.client.range(range).await.map_err(|failure| failure.into_error("read the audit trail"))?;
        let records = answer.kvs.into_iter().map(|found| {
            let id = found.key.strip_prefix(prefix.as_slice()).and_then(|id| String::from_utf8(id.to_vec()).ok());
            let id =
                id.ok_or_else(|| StoreError::Unusable("etcd holds an audit record whose id is no text".to_owned()))?;
            Ok(AuditRecord { id, body: found.value })
        });
        records.collect()
    }

    /// Lets go of the oldest that there is no room for.
    pub(super) async fn sweep_audit(&self) -> Result<(), StoreError> {
        let key = self.shared.keys.audit("");
        let all =
            wire::RangeRequest { range_end: keys::behind(&key), key: key.clone(), ..wire::RangeRequest::default() };
        let failed = |failure: super::CallError| failure.into_error("read the audit trail");
        let counted = wire::RangeRequest { count_only: true, ..all.clone() };
        let count = self.shared.client.range(counted).await.map_err(failed)?.count;
        let surplus = count - i64::try_from(self.shared.audit_records_max).unwrap_or(i64::MAX);
        if surplus <= 0 {
            return Ok(());
        }
        let oldest = wire::RangeRequest { limit: surplus, keys_only: true, ..all };
        let found = self.shared.client.range(oldest).await.map_err(failed)?;
        let Some(last) = found.kvs.last() else { return Ok(()) };
        let success = vec![delete_range(key, [last.key.as_slice(), &[0]].concat())];
        self.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await.map(drop)
    }
}

pub(super) fn put(own: &keys::Keys, record: &AuditRecord) -> wire::RequestOp {
    put_leased(own.audit(&record.id), record.body.clone(), 0)
}
